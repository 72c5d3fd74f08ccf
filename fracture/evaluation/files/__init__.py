"""What an evaluation is read from: files of predictions and of references."""
