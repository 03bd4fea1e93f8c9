"""Transfer to classification: data preparation, frozen features, fine-tuning, accuracy with intervals."""
