"""All models on labelled sets of the field, with published figures beside ours."""
