"""What is written and told: files that are whole or not there, the summary, the page and the proof."""
