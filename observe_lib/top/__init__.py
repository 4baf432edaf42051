"""The verb `top`: a live screen in the terminal."""
