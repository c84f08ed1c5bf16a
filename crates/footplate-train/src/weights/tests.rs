use std::fs;

use safetensors::tensor::TensorView;

use super::*;
use crate::settings::LstmSize;

fn net(model: &str, classes: usize, seed: u64) -> Box<dyn Network> {
    let device = Device::flex();
    let lstm = LstmSize { embed: 3, hidden: 5, layers: 2 };
    let _turn = crate::testing::seeded(seed);
    (model::find(model).unwrap().build)(&ModelShape { classes, image_size: 32, lstm }, &device)
}

fn values(net: &dyn Network) -> Vec<(String, Vec<f32>)> {
    net.tensors().into_iter().map(|t| (t.path, t.data.try_to_vec().unwrap())).collect()
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    for model in ["lenet5", "mobilenet_v3_small", "lstm"] {
        let saved = net(model, 3, 1);
        save_safetensors(saved.as_ref(), &path).unwrap();
        let mut loaded = net(model, 3, 2);
        assert_ne!(values(loaded.as_ref()), values(saved.as_ref()));
        let report = load_safetensors(loaded.as_mut(), &path).unwrap();
        assert_eq!(values(loaded.as_ref()), values(saved.as_ref()));
        assert!(report.replaced_head.is_none() && report.ignored.is_empty(), "{report:?}");
    }
}

#[test]
fn a_head_for_other_classes_keeps_its_random_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    save_safetensors(net("lenet5", 10, 1).as_ref(), &path).unwrap();
    let mut other = net("lenet5", 3, 2);
    let report = load_safetensors(other.as_mut(), &path).unwrap();
    assert_eq!(report.replaced_head, Some(ReplacedHead { file_classes: 10, own_classes: 3 }));
    assert_eq!(
        report.warnings(),
        ["classifier head replaced: the file has 10 classes, your data 3; all other layers loaded"]
    );
    let fresh = values(net("lenet5", 3, 2).as_ref());
    let head = |all: &[(String, Vec<f32>)]| {
        all.iter().filter(|(p, _)| p.starts_with("fc2")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(head(&values(other.as_ref())), head(&fresh));
}

#[test]
fn weights_of_another_model_are_refused_by_the_missing_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    save_safetensors(net("lenet5", 3, 1).as_ref(), &path).unwrap();
    let error = load_safetensors(net("mobilenet_v3_small", 3, 1).as_mut(), &path).unwrap_err();
    assert!(matches!(&error, WeightsError::Missing { key, .. } if key == "features.0.0.weight"), "{error}");
    fs::write(&path, "text").unwrap();
    let error = load_safetensors(net("lenet5", 3, 1).as_mut(), &path).unwrap_err();
    assert!(matches!(error, WeightsError::NotSafetensors { .. }));
}

#[test]
fn halves_become_floats() {
    let cases = [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0), (0x0000, 0.0)];
    for (bits, expected) in cases {
        assert_eq!(half_to_f32(bits), expected);
    }
    assert!(half_to_f32(0x7e00).is_nan() && half_to_f32(0xfc00) == f32::NEG_INFINITY);
}

#[test]
fn transposing_twice_gives_the_same() {
    let values: Vec<f32> = (0..6u8).map(f32::from).collect();
    assert_eq!(transpose(&values, 2, 3), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(transpose(&transpose(&values, 2, 3), 3, 2), values);
}

/// The keys of torchvision's state dictionaries at places where counting goes wrong most easily.
#[test]
fn keys_are_those_of_torchvision() {
    let keys = |model: &str| -> Vec<String> {
        let net = net(model, 3, 1);
        net.tensors().iter().map(|t| net.torch_key(&t.path)).collect()
    };
    let has = |model: &str, wanted: &[&str]| {
        let keys = keys(model);
        for key in wanted {
            assert!(keys.iter().any(|k| k == key), "{model} lacks {key}");
        }
    };
    has(
        "resnet18",
        &[
            "conv1.weight",
            "bn1.running_var",
            "layer2.0.downsample.0.weight",
            "layer4.1.bn2.bias",
            "fc.weight",
        ],
    );
    has("resnet50", &["layer1.0.downsample.1.running_mean", "layer3.5.conv3.weight", "layer4.2.bn3.weight"]);
    has(
        "mobilenet_v3_small",
        &[
            "features.0.1.running_mean",
            "features.1.block.0.0.weight",
            "features.1.block.1.fc1.bias",
            "features.1.block.2.1.weight",
            "features.2.block.2.0.weight",
            "features.11.block.2.fc2.weight",
            "features.11.block.3.1.bias",
            "features.12.0.weight",
            "classifier.0.weight",
            "classifier.3.bias",
        ],
    );
    has("lstm", &["lstm.weight_ih_l0", "lstm.bias_hh_l1", "embedding.weight", "head.bias"]);
}

/// A safetensors file of all of `net`'s arrays, each changed by `change` before it is written.
fn changed_file(path: &Path, net: &dyn Network, change: impl Fn(&str, &mut Array)) {
    let mut arrays = torch_arrays(net).unwrap();
    for (key, array) in &mut arrays {
        change(key, array);
    }
    fs::write(path, safetensors::serialize(arrays, None).unwrap()).unwrap();
}

#[test]
fn what_torch_save_writes_is_named_and_the_hint_converts_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in1k.pth");
    let zipped: &[u8] = b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00archive/data.pklFB\x05";
    for bytes in [zipped, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x05}q\x00."] {
        fs::write(&path, bytes).unwrap();
        let error = load_safetensors(net("lenet5", 3, 1).as_mut(), &path).unwrap_err();
        assert!(error.to_string().ends_with("in1k.pth is a PyTorch pickle, not safetensors"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("torch.load(") && hint.contains("in1k.safetensors'"), "{hint}");
    }
    for other in [&b"PK\x03\x04 word/document.xml"[..], b"", b"\x80", b"\x80\x02\0\0\0\0\0\0{\"a\":1}"] {
        fs::write(&path, other).unwrap();
        let error = load_safetensors(net("lenet5", 3, 1).as_mut(), &path).unwrap_err();
        assert!(matches!(error, WeightsError::NotSafetensors { .. }), "{error}");
        assert_eq!(error.hint(), None);
    }
}

#[test]
fn every_truncation_of_a_weights_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let mut net = net("lstm", 3, 1);
    save_safetensors(net.as_ref(), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for cut in (0..bytes.len()).step_by(97) {
        fs::write(&path, &bytes[..cut]).unwrap();
        assert!(load_safetensors(net.as_mut(), &path).is_err(), "cut at {cut} of {}", bytes.len());
    }
}

#[test]
fn an_array_of_another_shape_or_kind_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let mut lenet = net("lenet5", 3, 1);
    changed_file(&path, lenet.as_ref(), |key, array| {
        if key == "fc1.bias" {
            array.shape = vec![1, array.shape[0]];
        }
    });
    let error = load_safetensors(lenet.as_mut(), &path).unwrap_err();
    let WeightsError::Shape { key, expected, found, .. } = error else { panic!("{error}") };
    assert_eq!((key.as_str(), found.len(), expected.len()), ("fc1.bias", 2, 1));
    changed_file(&path, lenet.as_ref(), |key, array| {
        if key == "fc1.bias" {
            array.dtype = Dtype::I32;
        }
    });
    let error = load_safetensors(lenet.as_mut(), &path).unwrap_err();
    assert!(error.to_string().ends_with("`fc1.bias` holds I32, not floating-point numbers"), "{error}");
}

#[test]
fn a_head_of_the_same_classes_and_another_width_is_no_other_head() {
    let shape = |expected: &[usize], found: &[usize]| WeightsError::Shape {
        path: PathBuf::from("w"),
        key: "fc.weight".to_owned(),
        expected: expected.to_vec(),
        found: found.to_vec(),
    };
    assert_eq!(replaced_head(&shape(&[4, 512], &[4, 2048])), None);
    let head = ReplacedHead { file_classes: 1000, own_classes: 4 };
    assert_eq!(replaced_head(&shape(&[4, 512], &[1000, 512])), Some(head));
    assert_eq!(replaced_head(&shape(&[4], &[])), None);
    assert_eq!(replaced_head(&WeightsError::Checkpoint(String::new())), None);
}

/// Numbers of 16 and 64 bits that f32 holds exactly.
#[test]
fn floats_of_every_width_are_read() {
    let half = [0x3c00u16, 0xc000].map(u16::to_le_bytes).concat();
    let brain = [0x3f80u16, 0xc000].map(u16::to_le_bytes).concat();
    let (single, double) =
        ([1.0f32, -2.0].map(f32::to_le_bytes).concat(), [1.0f64, -2.0].map(f64::to_le_bytes).concat());
    for (dtype, bytes) in
        [(Dtype::F16, half), (Dtype::BF16, brain), (Dtype::F32, single), (Dtype::F64, double)]
    {
        let view = TensorView::new(dtype, vec![2], &bytes).unwrap();
        assert_eq!(floats(&view), Some(vec![1.0, -2.0]), "{dtype:?}");
    }
    let whole = TensorView::new(Dtype::I64, vec![1], &[0; 8]).unwrap();
    assert_eq!(floats(&whole), None);
}

#[test]
fn arrays_that_the_model_does_not_have_are_told_but_for_the_counts_of_batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let mut lenet = net("lenet5", 3, 1);
    let mut arrays = torch_arrays(lenet.as_ref()).unwrap();
    let counts = arrays.iter().filter(|(key, _)| key.ends_with(BATCH_COUNT)).count();
    assert!(counts > 0, "PyTorch has a count in each normalisation layer");
    arrays.push(("ema.decay".to_owned(), Array { dtype: Dtype::F32, shape: vec![1], bytes: vec![0; 4] }));
    fs::write(&path, safetensors::serialize(arrays, None).unwrap()).unwrap();
    let report = load_safetensors(lenet.as_mut(), &path).unwrap();
    assert_eq!(report.ignored, ["ema.decay"]);
    assert_eq!(report.warnings(), ["1 arrays of the weights file are not a part of the model: ema.decay"]);
    assert_eq!(report.loaded, lenet.tensors().len());
}

#[test]
fn a_file_that_cannot_be_read_or_written_says_which_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none").join("w.safetensors");
    let mut lenet = net("lenet5", 3, 1);
    let read = load_safetensors(lenet.as_mut(), &nowhere).unwrap_err();
    let written = save_safetensors(lenet.as_ref(), &nowhere).unwrap_err();
    assert_eq!((read.is_write(), written.is_write()), (false, true));
    assert!(read.to_string().starts_with("cannot read ") && written.to_string().starts_with("cannot write "));
}
