//! Cross-entropy with label smoothing, and the top-1 and top-5 counts.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, FloatDType, Int, Tensor, TensorData};

/// Summed cross-entropy in nats of `logits` `[rows, classes]` against `targets` `[rows]`.
///
/// With smoothing ε the target distribution is `(1 - ε)` on the true class plus `ε / classes` on every class
/// (Szegedy et al. 2015; `torch.nn.CrossEntropyLoss(label_smoothing=ε)`).
pub(crate) fn cross_entropy_sum(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    // A network of half precision gives scores of half precision.
    let logits = if logits.dtype() == DType::F32 { logits } else { logits.cast(FloatDType::F32) };
    let log_probabilities = log_softmax(logits, 1);
    let true_class = log_probabilities.clone().gather(1, targets.reshape([rows, 1])).sum().neg();
    if smoothing == 0.0 {
        return true_class;
    }
    let uniform = log_probabilities.sum().neg().div_scalar(classes as f64);
    true_class.mul_scalar(1.0 - smoothing) + uniform.mul_scalar(smoothing)
}

/// How many rows have their true class first, and among the first five.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    pub(crate) top1: u64,
    pub(crate) top5: u64,
}

/// Counts hits in `logits` `[rows, classes]`. A class with the same score as the true one counts as ahead of
/// it if its number is smaller, so that a model that gives equal scores is not called right.
pub(crate) fn count_hits(logits: &TensorData, classes: usize, targets: &[i64]) -> Hits {
    let scores: Vec<f32> = logits.iter::<f32>().collect();
    let mut hits = Hits::default();
    for (row, target) in scores.chunks_exact(classes).zip(targets) {
        let Some(own) = usize::try_from(*target).ok().and_then(|t| row.get(t).map(|s| (t, *s))) else {
            continue;
        };
        let ahead =
            row.iter().enumerate().filter(|(i, s)| **s > own.1 || (**s == own.1 && *i < own.0)).count();
        hits.top1 += u64::from(ahead == 0);
        hits.top5 += u64::from(ahead < 5);
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn loss(smoothing: f64) -> f32 {
        let device = Device::flex();
        let logits = Tensor::<2>::from_floats([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]], &device);
        let targets = Tensor::<1, Int>::from_ints([0, 2], &device);
        cross_entropy_sum(logits, targets, smoothing).into_data().iter::<f32>().next().unwrap()
    }

    #[test]
    fn cross_entropy_is_the_log_of_the_true_class() {
        let expected = (1.0 + (-2.0f32).exp() + (-3.0f32).exp()).ln() + 3.0f32.ln();
        assert!((loss(0.0) - expected).abs() < 1e-6);
    }

    #[test]
    fn smoothing_mixes_in_the_uniform_target() {
        let plain = loss(0.0);
        let first = (1.0 + (-2.0f32).exp() + (-3.0f32).exp()).ln();
        let uniform = (first + (first + 2.0) + (first + 3.0)) / 3.0 + 3.0f32.ln();
        assert!((loss(0.2) - (0.8 * plain + 0.2 * uniform)).abs() < 1e-5);
    }

    #[test]
    fn hits_need_the_true_class_ahead_of_equal_scores() {
        let logits =
            TensorData::new(vec![1.0f32, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [2, 6]);
        assert_eq!(count_hits(&logits, 6, &[1, 5]), Hits { top1: 1, top5: 1 });
        assert_eq!(count_hits(&logits, 6, &[2, 0]), Hits { top1: 1, top5: 2 });
    }
}
