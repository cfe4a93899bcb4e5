"""Reading ``cluster.yaml`` strictly into the model, and writing the model back as a document."""
