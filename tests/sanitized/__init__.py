"""The extension under AddressSanitizer and UndefinedBehaviorSanitizer: `make sanitize`."""
