"""The verb `alert`: tells somebody of trouble, once, and when it is over."""
