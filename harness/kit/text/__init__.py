"""Text: classifiers with their packing and training, templates, learnt vocabularies."""
