//! The metrics of one role, in Prometheus' text form.
//!
//! Names are `tannin_<role>_<what>_<unit>`; a role registers its metrics once, when it starts. With
//! them come those of the process under the names that everybody's dashboards know (`process_…`).

use prometheus::core::Collector;
use prometheus::proto::MetricType;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::new(),
        };
        // Read from /proc.
        #[cfg(target_os = "linux")]
        metrics
            .registry
            .register(Box::new(
                prometheus::process_collector::ProcessCollector::for_self(),
            ))
            .expect("the registry is empty");
        metrics
    }
}

/// One number.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    /// `name=value`, separated by commas.
    pub labels: String,
    pub value: f64,
    pub help: String,
}

/// Latency buckets in seconds, from 0.1 ms to 30 s.
const LATENCY_BUCKETS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

impl Metrics {
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        let counter = IntCounter::new(name, help).expect("metric names are constants");
        self.register(counter)
    }

    /// One counter for each value of `label`.
    pub fn counter_by(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])
            .expect("metric names are constants");
        self.register(counters)
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("metric names are constants"))
    }

    /// One gauge for each combination of values of `labels`.
    pub fn gauge_by(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let gauges =
            IntGaugeVec::new(Opts::new(name, help), labels).expect("metric names are constants");
        self.register(gauges)
    }

    /// Latencies in seconds.
    pub fn latency(&self, name: &str, help: &str) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        self.register(Histogram::with_opts(options).expect("metric names are constants"))
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        self.registry
            .register(Box::new(collector.clone()))
            .expect("each metric registers once");
        collector
    }

    /// What is shown as text, as rows: of a histogram its count and its sum.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                let labels = metric.get_label().iter();
                let labels = labels.map(|label| format!("{}={}", label.name(), label.value()));
                let labels = labels.collect::<Vec<_>>().join(",");
                let mut add = |suffix: &str, value: f64| {
                    samples.push(Sample {
                        name: format!("{}{suffix}", family.name()),
                        labels: labels.clone(),
                        value,
                        help: family.help().to_owned(),
                    });
                };
                match family.get_field_type() {
                    MetricType::COUNTER => add("", metric.get_counter().get_value()),
                    MetricType::GAUGE => add("", metric.get_gauge().get_value()),
                    _ => {
                        let histogram = metric.get_histogram();
                        add("_count", histogram.get_sample_count() as f64);
                        add("_sum", histogram.get_sample_sum());
                    }
                }
            }
        }
        samples
    }

    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}
