use std::collections::BTreeSet;

/// Totals of one process since its start; 0 for metrics that its role does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metrics {
    pub(super) roles: BTreeSet<&'static str>,
    pub(super) placed: f64,
    pub(super) replayed: f64,
    pub(super) refused: f64,
    pub(super) requests: f64,
    /// Responses with status 500 and above.
    pub(super) failed: f64,
    pub(super) refused_tokens: f64,
    pub(super) failed_log_ins: f64,
    pub(super) refused_admin_calls: f64,
    pub(super) delivered: f64,
    /// A table that all replicas share.
    pub(super) outbox: Option<f64>,
    pub(super) journal: Option<f64>,
}

impl Metrics {
    pub(super) fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for sample in text.lines().filter_map(Sample::parse) {
            metrics.record(&sample);
        }
        metrics
    }

    fn record(&mut self, sample: &Sample<'_>) {
        let value = sample.value;
        for (beginning, role) in
            [("merch_api_", "api"), ("merch_db_", "db"), ("merch_logging_", "logging")]
        {
            if sample.name.starts_with(beginning) {
                self.roles.insert(role);
            }
        }
        match sample.name {
            "merch_db_orders_total" => match sample.label("outcome") {
                Some("placed") => self.placed += value,
                Some("replayed") => self.replayed += value,
                Some(_) | None => self.refused += value,
            },
            "merch_api_request_duration_seconds_count" => {
                self.requests += value;
                let log_in = sample.label("operation") == Some("log_in");
                match sample.label("status").and_then(|status| status.parse().ok()).unwrap_or(0_u16)
                {
                    401 if log_in => self.failed_log_ins += value,
                    401 => self.refused_tokens += value,
                    500.. => self.failed += value,
                    _ => {}
                }
            }
            "merch_db_admin_refused_calls_total" => self.refused_admin_calls += value,
            "merch_logging_delivered_events_total" => self.delivered += value,
            "merch_db_outbox_backlog" => self.outbox = Some(value),
            "merch_log_journal_backlog_events" => self.journal = Some(value),
            _ => {}
        }
    }
}

/// `name{label="value",…} 1.5`
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (head, value) = line.rsplit_once(' ')?;
        let (name, labels) = match head.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (head, ""),
        };
        Some(Self { name, labels, value: value.parse().ok()? })
    }

    /// Label values contain no quotes and no commas.
    fn label(&self, name: &str) -> Option<&'a str> {
        self.labels
            .split(',')
            .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_metrics_are_parsed() {
        let text = "# HELP merch_db_orders_total Orders\n# TYPE merch_db_orders_total counter\n\
            merch_db_orders_total{outcome=\"placed\"} 12\nmerch_db_orders_total{outcome=\"out_of_stock\"} 3\n\
            merch_api_request_duration_seconds_count{operation=\"place_order\",status=\"201\"} 12\n\
            merch_api_request_duration_seconds_count{operation=\"log_in\",status=\"401\"} 2\n\
            merch_api_request_duration_seconds_count{operation=\"list_orders\",status=\"401\"} 4\n\
            merch_api_request_duration_seconds_count{operation=\"list_orders\",status=\"503\"} 1\n\
            merch_api_request_duration_seconds_bucket{operation=\"log_in\",status=\"401\",le=\"+Inf\"} 2\n\
            merch_db_outbox_backlog 7\nnonsense\nmerch_log_journal_backlog_events x\n";
        let metrics = Metrics::parse(text);
        assert_eq!((metrics.placed, metrics.refused, metrics.requests), (12.0, 3.0, 19.0));
        assert_eq!(
            (metrics.failed_log_ins, metrics.refused_tokens, metrics.failed),
            (2.0, 4.0, 1.0)
        );
        assert_eq!((metrics.outbox, metrics.journal), (Some(7.0), None));
        assert_eq!(metrics.roles, ["api", "db"].into());
    }
}
