"""Files of questions about clips: multiple choice, blanks to fill in, open questions."""
