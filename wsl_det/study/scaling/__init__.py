"""The scaling study: accuracy or AP against images, capacity, vocabulary, sampling and label noise."""
