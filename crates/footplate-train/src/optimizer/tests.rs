use super::*;

fn settings(kind: OptimizerKind) -> OptimizerSettings {
    OptimizerSettings { kind, momentum: 0.9, nesterov: true, weight_decay: 0.1 }
}

/// Minimises (x² + 3x) / 2 · [1, 2] for three steps; the gradient is (x + 1.5) · [1, 2].
fn three_steps(kind: OptimizerKind) -> Vec<f32> {
    let device = Device::flex();
    let mut optimizer = Optimizer::new(settings(kind));
    let mut value = Tensor::<1>::from_floats([1.0, -2.0], &device);
    let weights = Tensor::<1>::from_floats([1.0, 2.0], &device);
    for _ in 0..3 {
        let gradient = value.clone().add_scalar(1.5) * weights.clone();
        optimizer.begin_step();
        value = optimizer.update("w", true, value, gradient, 0.01);
    }
    value.into_data().try_to_vec().unwrap()
}

fn assert_near(got: &[f32], expected: &[f32]) {
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
    }
}

/// Expected values: the recurrences of torch `SGD([w], lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1)` in float64.
#[test]
fn sgd_is_that_of_pytorch() {
    assert_near(&three_steps(OptimizerKind::Sgd), &SGD_EXPECTED);
}

/// Expected values: the recurrences of torch `AdamW([w], lr=0.01, weight_decay=0.1)` in float64.
#[test]
fn adamw_is_that_of_pytorch() {
    assert_near(&three_steps(OptimizerKind::AdamW), &ADAMW_EXPECTED);
}

const SGD_EXPECTED: [f32; 2] = [0.794_682_1, -1.906_880_5];
const ADAMW_EXPECTED: [f32; 2] = [0.967_037_3, -1.964_062_1];

#[test]
fn clipping_keeps_the_direction() {
    let device = Device::flex();
    let mut gradients = GradientMap::new();
    gradients.insert("a".into(), Tensor::from_floats([3.0], &device));
    gradients.insert("b".into(), Tensor::from_floats([4.0], &device));
    assert!((clip_norm(&mut gradients, 1.0) - 5.0).abs() < 1e-6);
    let clipped: Vec<f32> =
        gradients.into_values().flat_map(|t| t.into_data().try_to_vec::<f32>().unwrap()).collect();
    assert_near(&clipped, &[0.6, 0.8]);
}

/// The value `[1]` after steps of the gradient `[0.5]`, by hand from the rule's formula.
fn after(settings: &OptimizerSettings, decayed: bool, steps: usize) -> f32 {
    let device = Device::flex();
    let mut optimizer = Optimizer::new(settings.clone());
    let mut value = Tensor::<1>::from_floats([1.0], &device);
    for _ in 0..steps {
        optimizer.begin_step();
        value = optimizer.update("w", decayed, value, Tensor::from_floats([0.5], &device), 0.1);
    }
    value.into_data().iter::<f32>().next().unwrap()
}

#[test]
fn each_rule_does_what_its_formula_says() {
    use OptimizerKind::{AdamW, Sgd};
    let rule =
        |kind, momentum, nesterov, weight_decay| OptimizerSettings { kind, momentum, nesterov, weight_decay };
    let cases = [
        // 1 - 0.1 · 0.5
        (rule(Sgd, 0.0, false, 0.0), true, 1, 0.95),
        (rule(Sgd, 0.0, false, 0.0), true, 2, 0.9),
        // The gradient is 0.5 + 0.2 · 1; undecayed it is 0.5.
        (rule(Sgd, 0.0, false, 0.2), true, 1, 0.93),
        (rule(Sgd, 0.0, false, 0.2), false, 1, 0.95),
        // Buffers 0.5 and 0.5 · 0.9 + 0.5 = 0.95.
        (rule(Sgd, 0.9, false, 0.0), true, 1, 0.95),
        (rule(Sgd, 0.9, false, 0.0), true, 2, 0.855),
        // Nesterov adds 0.9 of the buffer to the gradient: 0.95, then 1.355.
        (rule(Sgd, 0.9, true, 0.0), true, 1, 0.905),
        (rule(Sgd, 0.9, true, 0.0), true, 2, 0.7695),
        // AdamW's first steps on a constant gradient are the rate itself; decay is decoupled: 1 - 0.1 · 0.2 first.
        (rule(AdamW, 0.9, false, 0.0), true, 1, 0.9),
        (rule(AdamW, 0.9, false, 0.0), true, 3, 0.7),
        (rule(AdamW, 0.9, false, 0.2), true, 1, 0.88),
        (rule(AdamW, 0.9, false, 0.2), false, 1, 0.9),
    ];
    for (settings, decayed, steps, expected) in cases {
        let got = after(&settings, decayed, steps);
        assert!((got - expected).abs() < 1e-6, "{settings:?}, {steps} steps: {got} is not {expected}");
    }
}

#[test]
fn the_memory_is_named_by_the_parameter_and_goes_on_where_it_was() {
    for (kind, names) in
        [(OptimizerKind::Sgd, &["w#first"][..]), (OptimizerKind::AdamW, &["w#first", "w#second"][..])]
    {
        let device = Device::flex();
        let gradient = || Tensor::<1>::from_floats([0.5, -2.0], &device);
        let start = || Tensor::<1>::from_floats([1.0, 1.0], &device);
        let mut whole = Optimizer::new(settings(kind));
        let mut value = start();
        for _ in 0..2 {
            whole.begin_step();
            value = whole.update("w", true, value, gradient(), 0.1);
        }
        let (updates, tensors) = whole.to_tensors();
        assert_eq!(
            (updates, tensors.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>()),
            (2, names.to_vec())
        );
        let mut resumed = Optimizer::new(settings(kind));
        let mut arrays: BTreeMap<String, TensorData> = tensors.into_iter().collect();
        arrays.insert("unknown".to_owned(), TensorData::new(vec![1.0f32], [1]));
        resumed.load(updates, arrays, &device);
        let next = |optimizer: &mut Optimizer, value: Tensor<1>| -> Vec<f32> {
            optimizer.begin_step();
            optimizer.update("w", true, value, gradient(), 0.1).into_data().try_to_vec().unwrap()
        };
        assert_eq!(next(&mut whole, value.clone()), next(&mut resumed, value), "{kind}");
    }
}

#[test]
fn a_norm_below_the_limit_is_told_and_left_alone() {
    let device = Device::flex();
    let mut gradients = GradientMap::from([("a".to_owned(), Tensor::from_floats([3.0, 4.0], &device))]);
    assert!((clip_norm(&mut gradients, 5.0) - 5.0).abs() < 1e-6);
    let left: Vec<f32> = gradients.remove("a").unwrap().into_data().try_to_vec().unwrap();
    assert_eq!(left, [3.0, 4.0]);
    assert_eq!(clip_norm(&mut GradientMap::new(), 1.0), 0.0);
}
