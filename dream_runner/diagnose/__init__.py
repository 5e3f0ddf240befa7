"""Find out what is wrong: doctor, the support archive, captures without names."""
