"""Whether a run can learn, what it will take, and what to change, before anything is spent."""
