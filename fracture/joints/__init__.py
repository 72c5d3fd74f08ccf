"""Joints of hands and forefeet: found, measured and scored after the RA2-DREAM challenge."""
