"""BigCodeBench: tasks that call many libraries, judged in an environment of their own."""
