//! Loss and accuracy over the validation split.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Tensor;
use footplate_data::{BadSample, Pipeline};

use crate::error::TrainError;
use crate::feed::Feed;
use crate::loss::{Hits, count_hits, cross_entropy_sum};
use crate::model::Network;

/// Rows of scores (samples, or predicted characters) and what came of them.
#[derive(Debug, Default)]
pub(crate) struct Evaluation {
    pub(crate) rows: u64,
    pub(crate) loss_sum: f64,
    pub(crate) hits: Hits,
    pub(crate) bad: Vec<BadSample>,
}

/// Runs `net` over all of `pipeline`; `None` if `stop` was set before its end.
pub(crate) fn evaluate(
    net: &dyn Network,
    feed: &Feed,
    pipeline: Pipeline,
    stop: &AtomicBool,
) -> Result<Option<Evaluation>, TrainError> {
    let mut total = Evaluation::default();
    for batch in pipeline {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut batch = batch?;
        total.bad.append(&mut batch.bad);
        if batch.items == 0 {
            continue;
        }
        let batch = feed.upload(batch)?;
        let logits = net.forward(batch.input);
        let [_, classes] = logits.dims();
        let loss = cross_entropy_sum(logits.clone(), batch.targets.clone(), 0.0);
        let targets: Vec<i64> = batch.targets.try_into_data().map_err(failed)?.iter::<i64>().collect();
        let hits = count_hits(&logits.try_into_data().map_err(failed)?, classes, &targets);
        total.rows += batch.rows as u64;
        total.loss_sum += scalar(loss)?;
        total.hits.top1 += hits.top1;
        total.hits.top5 += hits.top5;
    }
    Ok(Some(total))
}

/// The only value of a tensor, fetched from the device.
pub(crate) fn scalar(tensor: Tensor<1>) -> Result<f64, TrainError> {
    Ok(tensor.try_into_data().map_err(failed)?.iter::<f64>().next().unwrap_or(f64::NAN))
}

/// A device that cannot give back what was computed on it.
fn failed(error: impl std::fmt::Display) -> TrainError {
    TrainError::DeviceFailed { device: "gpu".to_owned(), reason: error.to_string() }
}
