"""A relay of several processes: a supervisor that begins workers, keeps them at work, and speaks for all of them."""
