"""What readers of foreign formats share: the file, hostile-input safe parsers, the graph, the report."""
