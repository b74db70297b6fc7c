"""The body of a submission, taken apart as a log does it."""

from muniment.records.batchbody import cut_addenda, end_of_batch, ends_of_addenda


def split_body(body: bytes) -> tuple[bytes, list[bytes]]:
    """Splits a body into the batch and its addenda; the inverse of `join_body`.

    The batch is not looked at: it is the whole body when there is no manifest in it. Raises as
    `ends_of_addenda`.
    """
    end = end_of_batch(body)
    section = body[end:]
    return (body if not section else body[:end]), cut_addenda(section, ends_of_addenda(section))
