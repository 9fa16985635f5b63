"""What comes out of ledgers: the paper's numbers beside ours, tables, answers, figures, pages."""
