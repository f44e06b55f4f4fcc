"""The alerts of config/prometheus/alerts.yml, held to promtool and to the metrics that there are."""
