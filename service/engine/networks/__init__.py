"""Small networks that other packages ship: which they are, how they get here, and what each sees in a picture."""
