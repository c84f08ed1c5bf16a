//! Weights in PyTorch's layout, as safetensors (format: <https://huggingface.co/docs/safetensors>).
#![expect(clippy::disallowed_methods, reason = "reads weights files")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use footplate_files::whole;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use thiserror::Error;

use crate::checkpoint::Checkpoint;
use crate::model::{self, ModelShape};
use crate::network::{NamedTensor, Network, ParamError, ParamKind};

/// PyTorch counts the batches of each normalisation layer; nothing here depends on that number.
const BATCH_COUNT: &str = "num_batches_tracked";

/// Why weights could not be read or written.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The weights file.
        path: PathBuf,
        /// Why the system refused.
        source: io::Error,
    },
    /// It is not a safetensors file.
    #[error("{}: not a safetensors file: {reason}", path.display())]
    NotSafetensors {
        /// The weights file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is what `torch.save` writes.
    #[error("{} is a PyTorch pickle, not safetensors", path.display())]
    Pickle {
        /// The weights file.
        path: PathBuf,
    },
    /// The model has an array that the file has not.
    #[error("{}: no array `{key}`, which the model needs; is the file of another model?", path.display())]
    Missing {
        /// The weights file.
        path: PathBuf,
        /// The array's name in PyTorch's state dictionary.
        key: String,
    },
    /// An array of the file has another shape.
    #[error("{}: `{key}` is {found:?}, and the model needs {expected:?}", path.display())]
    Shape {
        /// The weights file.
        path: PathBuf,
        /// The array's name in PyTorch's state dictionary.
        key: String,
        /// The model's shape, in PyTorch's layout.
        expected: Vec<usize>,
        /// The file's shape.
        found: Vec<usize>,
    },
    /// An array holds something other than floating-point numbers.
    #[error("{}: `{key}` holds {found}, not floating-point numbers", path.display())]
    Type {
        /// The weights file.
        path: PathBuf,
        /// The array's name in PyTorch's state dictionary.
        key: String,
        /// The type of number that it holds.
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

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        let Self::Pickle { path } = self else { return None };
        let (from, to) = (path.display(), path.with_extension("safetensors"));
        Some(format!(
            "convert it on any PC: python -c \"import torch, safetensors.torch as s; d = torch.load('{from}', \
             map_location='cpu'); s.save_file({{k: v.contiguous() for k, v in d.items()}}, '{}')\"",
            to.display()
        ))
    }
}

/// What was taken from a weights file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Arrays that were taken.
    pub loaded: usize,
    /// The last layer keeps its random values, because the file's is for another number of classes.
    pub replaced_head: Option<ReplacedHead>,
    /// Arrays of the file that the model does not have.
    pub ignored: Vec<String>,
}

/// A last layer that was not taken from the weights file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplacedHead {
    /// Classes that the last layer of the file tells apart.
    pub file_classes: usize,
    /// The model's, which are those of the data.
    pub own_classes: usize,
}

impl LoadReport {
    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(ReplacedHead { file_classes, own_classes }) = self.replaced_head {
            warnings.push(format!(
                "classifier head replaced: the file has {file_classes} classes, your data {own_classes}; \
                 all other layers loaded"
            ));
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
    if is_pickle(&bytes) {
        return Err(WeightsError::Pickle { path: path.to_owned() });
    }
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
            Err(error) => {
                let head = replaced_head(&error).filter(|_| key.starts_with(net.head()));
                report.replaced_head = Some(head.ok_or(error)?);
                own.data
            }
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

/// Whether bytes are what `torch.save` writes: a zip archive whose first file is `data.pkl` (since PyTorch 1.6), or a
/// bare pickle of protocol 2 or later.
fn is_pickle(bytes: &[u8]) -> bool {
    const ZIP: &[u8] = b"PK\x03\x04";
    const DATA: &[u8] = b"data.pkl";
    let first = &bytes[..bytes.len().min(1024)];
    let zipped = bytes.starts_with(ZIP) && first.windows(DATA.len()).any(|window| window == DATA);
    // The lowest byte of a header's length may be 0x80 too; what follows the length is `{` then.
    let bare = matches!(bytes, [0x80, 2..=5, ..]) && bytes.get(8) != Some(&b'{');
    zipped || bare
}

/// A last layer for another number of classes, which stand first in PyTorch's layout of weight and bias.
fn replaced_head(error: &WeightsError) -> Option<ReplacedHead> {
    let WeightsError::Shape { expected, found, .. } = error else { return None };
    let (file_classes, own_classes) = (*found.first()?, *expected.first()?);
    (file_classes != own_classes).then_some(ReplacedHead { file_classes, own_classes })
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
    whole::write_bytes(path, &bytes).map_err(io_error)
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
mod tests;
