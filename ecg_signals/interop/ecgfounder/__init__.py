"""ECGFounder: the files of its project and the input of its published weights."""
