"""Private keys as files: PKCS#8, and the forms that other tools write."""
