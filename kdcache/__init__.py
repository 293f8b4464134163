"""kdcache: run the teacher once, train any number of students from its cached logits."""
