"""`python -m unisim_metrics` is the program `unisim`."""

from unisim_metrics.cli import main

if __name__ == "__main__":
    main()
