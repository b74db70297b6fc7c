-- Finds the labels of the decisions on a run: what the run's outcome withholds has these, too.
CREATE INDEX addendum_by_labelled_run ON addendum (execution) WHERE labels IS NOT NULL;
