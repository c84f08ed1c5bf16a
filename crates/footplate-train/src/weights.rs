//! Weights in PyTorch's layout, as safetensors (format: <https://huggingface.co/docs/safetensors>).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use thiserror::Error;

use crate::checkpoint::Checkpoint;
use crate::model::{self, ModelShape};
use crate::network::{NamedTensor, Network, ParamError, ParamKind};
use footplate_data::atomic_file;

/// PyTorch counts the batches of each normalisation layer; nothing here depends on that number.
const BATCH_COUNT: &str = "num_batches_tracked";

/// Why weights could not be read or written.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is not a safetensors file.
    #[error("{}: not a safetensors file: {reason}", path.display())]
    NotSafetensors {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The model has an array that the file has not.
    #[error("{}: no array `{key}`, which the model needs; is the file of another model?", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// The array's name.
        key: String,
    },
    /// An array of the file has another shape.
    #[error("{}: `{key}` is {found:?}, and the model needs {expected:?}", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// The array's name.
        key: String,
        /// The model's.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// An array holds something other than floating-point numbers.
    #[error("{}: `{key}` holds {found}, not floating-point numbers", path.display())]
    Type {
        /// Which file.
        path: PathBuf,
        /// The array's name.
        key: String,
        /// What it holds.
        found: String,
    },
    /// A checkpoint of a model that this program does not have, or that does not fit it.
    #[error("the checkpoint does not fit the model: {0}")]
    Checkpoint(String),
}

impl WeightsError {
    /// Whether writing failed, and not reading.
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Io { action: "write", .. })
    }
}

/// What was taken from a weights file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Arrays that were taken.
    pub loaded: usize,
    /// Arrays of the last layer that keep their random values: the file's are for other classes.
    pub reinitialised: Vec<String>,
    /// Arrays of the file that the model does not have.
    pub ignored: Vec<String>,
}

impl LoadReport {
    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.reinitialised.is_empty() {
            let names = self.reinitialised.join(", ");
            warnings
                .push(format!("{names}: of another size in the weights file, begun anew with random values"));
        }
        if !self.ignored.is_empty() {
            warnings.push(format!(
                "{} arrays of the weights file are not a part of the model: {}",
                self.ignored.len(),
                self.ignored.join(", ")
            ));
        }
        warnings
    }
}

/// Loads torchvision's weights into `net`. A last layer of another size keeps its random values.
pub fn load_safetensors(net: &mut dyn Network, path: &Path) -> Result<LoadReport, WeightsError> {
    let io_error = |source| WeightsError::Io { action: "read", path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(io_error)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| WeightsError::NotSafetensors { path: path.to_owned(), reason: e.to_string() })?;
    let mut report = LoadReport::default();
    let mut arrays = BTreeMap::new();
    let mut known = Vec::new();
    for own in net.tensors() {
        let key = net.torch_key(&own.path);
        let data = match read_array(&file, &key, &own, path) {
            Ok(data) => {
                report.loaded += 1;
                data
            }
            Err(WeightsError::Shape { .. }) if key.starts_with(net.head()) => {
                report.reinitialised.push(key.clone());
                own.data
            }
            Err(error) => return Err(error),
        };
        arrays.insert(own.path, data);
        known.push(key);
    }
    let ignored = |name: &&String| !known.contains(name) && !name.ends_with(BATCH_COUNT);
    report.ignored = file.names().into_iter().map(ToOwned::to_owned).filter(|name| ignored(&name)).collect();
    report.ignored.sort();
    net.load(&arrays).map_err(|e: ParamError| WeightsError::Checkpoint(e.to_string()))?;
    Ok(report)
}

/// The file's array for `own`, in this program's layout.
fn read_array(
    file: &SafeTensors<'_>,
    key: &str,
    own: &NamedTensor,
    path: &Path,
) -> Result<TensorData, WeightsError> {
    let missing = |_: SafeTensorError| WeightsError::Missing { path: path.to_owned(), key: key.to_owned() };
    let view = file.tensor(key).map_err(missing)?;
    let expected = torch_shape(own);
    if view.shape() != expected {
        let found = view.shape().to_vec();
        return Err(WeightsError::Shape { path: path.to_owned(), key: key.to_owned(), expected, found });
    }
    let values = floats(&view).ok_or_else(|| WeightsError::Type {
        path: path.to_owned(),
        key: key.to_owned(),
        found: format!("{:?}", view.dtype()),
    })?;
    let values = if own.transposed { transpose(&values, expected[0], expected[1]) } else { values };
    Ok(TensorData::new(values, own.data.shape().clone()))
}

fn torch_shape(own: &NamedTensor) -> Vec<usize> {
    let mut shape = own.data.shape().to_vec();
    if own.transposed {
        shape.reverse();
    }
    shape
}

/// `rows` × `columns` numbers in row-major order, transposed.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| values[(i % rows) * columns + i / rows]).collect()
}

/// An array's numbers as f32; `None` if they are not floating-point.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => data.as_chunks::<2>().0.iter().map(|b| half_to_f32(u16::from_le_bytes(*b))).collect(),
        // A bfloat16 is the upper half of a float.
        Dtype::BF16 => data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16))
            .collect(),
        _ => return None,
    })
}

/// IEEE 754 binary16 to binary32.
fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// Writes all arrays of `net` under PyTorch's names and in its layout, whole or not at all.
pub fn save_safetensors(net: &dyn Network, path: &Path) -> Result<(), WeightsError> {
    let io_error = |source| WeightsError::Io { action: "write", path: path.to_owned(), source };
    let views = torch_arrays(net).map_err(io_error)?;
    let bytes = safetensors::serialize(views, None).map_err(|e| io_error(io::Error::other(e)))?;
    atomic_file::write(path, |file| file.write_all(&bytes)).map_err(io_error)
}

/// An array as the safetensors library takes it.
struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl safetensors::View for Array {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn torch_arrays(net: &dyn Network) -> io::Result<Vec<(String, Array)>> {
    let mut arrays = Vec::new();
    for own in net.tensors() {
        let key = net.torch_key(&own.path);
        let values = own.data.try_to_vec::<f32>().map_err(|e| io::Error::other(format!("{key}: {e:?}")))?;
        let shape = torch_shape(&own);
        let values = if own.transposed { transpose(&values, shape[1], shape[0]) } else { values };
        if own.kind == ParamKind::Buffer && key.ends_with("running_var") {
            let count = format!("{}{BATCH_COUNT}", key.trim_end_matches("running_var"));
            arrays.push((count, Array { dtype: Dtype::I64, shape: Vec::new(), bytes: vec![0; 8] }));
        }
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        arrays.push((key, Array { dtype: Dtype::F32, shape, bytes }));
    }
    Ok(arrays)
}

/// Writes a checkpoint's model.
pub fn export(checkpoint: &Checkpoint, path: &Path) -> Result<(), WeightsError> {
    let settings = &checkpoint.settings;
    let entry = model::find(&settings.model)
        .ok_or_else(|| WeightsError::Checkpoint(format!("unknown model `{}`", settings.model)))?;
    let shape = ModelShape {
        classes: checkpoint.labels.len(),
        image_size: settings.image_size as usize,
        lstm: settings.lstm,
    };
    let mut net = (entry.build)(&shape, &Device::flex());
    let arrays = checkpoint.model.iter().cloned().collect();
    net.load(&arrays).map_err(|e| WeightsError::Checkpoint(e.to_string()))?;
    save_safetensors(net.as_ref(), path)
}

#[cfg(test)]
mod tests {
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
            assert!(report.reinitialised.is_empty() && report.ignored.is_empty(), "{report:?}");
        }
    }

    #[test]
    fn a_head_for_other_classes_keeps_its_random_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        save_safetensors(net("lenet5", 10, 1).as_ref(), &path).unwrap();
        let mut other = net("lenet5", 3, 2);
        let report = load_safetensors(other.as_mut(), &path).unwrap();
        assert_eq!(report.reinitialised, ["fc2.weight", "fc2.bias"]);
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
        assert!(
            matches!(&error, WeightsError::Missing { key, .. } if key == "features.0.0.weight"),
            "{error}"
        );
        fs::write(&path, "text").unwrap();
        let error = load_safetensors(net("lenet5", 3, 1).as_mut(), &path).unwrap_err();
        assert!(matches!(error, WeightsError::NotSafetensors { .. }));
    }

    #[test]
    fn halves_become_floats() {
        let cases =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0), (0x0000, 0.0)];
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
        has(
            "resnet50",
            &["layer1.0.downsample.1.running_mean", "layer3.5.conv3.weight", "layer4.2.bn3.weight"],
        );
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
}
