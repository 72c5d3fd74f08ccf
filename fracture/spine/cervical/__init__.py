"""The cervical spine on CT. What is here so far: the score and the analysis of RSNA 2022."""
