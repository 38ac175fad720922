"""Taking in what gateways send: check, commit, and only then the receipt."""
