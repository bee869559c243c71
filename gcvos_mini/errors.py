"""Bad input ends in one clear line and exit status 2, never in a traceback."""

import sys


class BadInput(ValueError):
    """Input a person can mend. The message is one line: the file, what is wrong, the fix."""


def exit_on_bad_input(main):
    """Call ``main()``; on BadInput print its line to stderr and exit with status 2."""
    try:
        main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
