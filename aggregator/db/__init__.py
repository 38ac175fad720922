"""The two databases: tables, engines, versions, audit. What is stored in them is the stores' business."""
