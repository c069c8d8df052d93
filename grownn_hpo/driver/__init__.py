"""The driver: one small loop over what is not known yet."""
