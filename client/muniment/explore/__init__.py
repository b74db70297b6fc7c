"""The explorer: local pages over a verified replica, see docs/explore.md.

What is in it, from below:

- `escaping`: text that strangers chose, made visible; `svg`, `pathpicture`: pictures;
- `counting` (pure), `table`, `indexing`: the pages' own file, to count and to search;
- `searching`, `proving`, `leafview`: searches, proofs, all that is known of one leaf;
- `status`: what every page says of the replica and of what was not verified;
- `following`: the follower beside the pages; `site`: what page modules work with;
- page modules: `overview`, `find`, `decision`, `lineage`, `mesh`, `evidence`, `verifying`;
- `app`: who may come in, headers, static files, all pages; `running`: all of it together.

**A page module** has one function, ``routes(site: Site) -> list[web.RouteDef]``, and its name in
`app.PAGES`; a tab of its own is a row in `site.TABS`. Its handlers

- ask the replica by ``await site.ask(work)``: `work` is a plain function of one open `IndexReader`,
  which a thread calls; by ``await site.look(work)`` of the pages' own file, too. `FactsError` and
  `DatabaseError` need not be caught: they become a page that says so;
- answer by ``await site.page(request, "name.html", title=…, **values)``. The template begins with
  ``{% extends "base.html" %}`` and fills ``{% block content %}``. The status of the replica is in
  the base; a handler gets the same by ``await site.status()``;
- raise `web.HTTPNotFound(text=…)`, `HTTPBadRequest(text=…)` in words for a person.

Templates escape everything. What comes out of a record is written ``{{ value|shown }}``, which
also makes control and direction characters visible and keeps its direction to itself. Styles are
classes of ``static/style.css`` or of a file of the page's own in ``static/``; scripts are files
there, too, named in ``{% block head %}``: the Content-Security-Policy refuses whatever stands in
the page itself, ``style=`` attributes and handlers included. Data for a script travels in
``data-…`` attributes, or from a route that answers JSON.
"""
