//! The first kernel of a step: it reads a minibatch's bytes where they were written and writes the tensor that the
//! network sees.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::backend::wgpu::CubeBackend;
use burn::cubecl::wgpu::{AutoCompiler, WgpuResource, WgpuServer};
use burn::tensor::wgpu::wgpu;
use burn::tensor::{DType, Device, Tensor, f16};
use footplate_data::Normalize;

use super::Gpu;
use super::mapped::{LentBuffer, MappedBuffer, MappedPool};

/// Minibatches whose bytes the GPU may be reading, or going to read. It bounds how far the loop runs ahead.
pub(crate) const IN_FLIGHT: usize = 2;
/// Threads of a workgroup, as in the kernels.
const GROUP: u32 = 64;
/// Workgroups that every device takes along one axis.
const GROUPS_MAX: u32 = 65_535;

/// The numbers of the tensors that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    F32,
    F16,
}

impl Numbers {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }

    fn entry_point(self) -> &'static str {
        match self {
            Self::F32 => "ingest",
            Self::F16 => "ingest_halves",
        }
    }

    /// Threads for so many pixels: four pixels each, or two numbers.
    fn threads(self, pixels: u32) -> u32 {
        match self {
            Self::F32 => pixels.div_ceil(4),
            Self::F16 => (3 * pixels).div_ceil(2),
        }
    }

    /// A number as the kernel's table has it.
    fn word(self, number: f32) -> [u8; 4] {
        match self {
            Self::F32 => number.to_le_bytes(),
            Self::F16 => u32::from(f16::from_f32(number).to_bits()).to_le_bytes(),
        }
    }
}

/// Makes tensors of minibatches of bytes.
pub(crate) struct Ingest {
    gpu: Arc<Gpu>,
    numbers: Numbers,
    pipeline: wgpu::ComputePipeline,
    /// What each byte becomes in each channel.
    table: wgpu::Buffer,
    /// Where the bytes are copied to first, on a GPU with a memory of its own.
    staged: Option<Mutex<Option<wgpu::Buffer>>>,
    /// The work that is not known to be done, the oldest first.
    submitted: Mutex<VecDeque<wgpu::SubmissionIndex>>,
}

/// How long the kernel took, once that is known.
#[derive(Clone)]
pub(crate) struct IngestTime {
    gpu: Arc<Gpu>,
    ns: Arc<OnceLock<u64>>,
}

impl IngestTime {
    /// Nanoseconds; `None` as long as the GPU has not finished, and on one without timestamps.
    pub(crate) fn ns(&self) -> Option<u64> {
        if self.ns.get().is_none() {
            self.gpu.poll();
        }
        self.ns.get().copied()
    }
}

/// A minibatch on the GPU.
pub(crate) struct Ingested {
    /// `[n, 3, h, w]`
    pub(crate) images: Tensor<4>,
    /// Bytes that were copied for it.
    pub(crate) copied: u64,
    pub(crate) time: Option<IngestTime>,
}

impl Ingest {
    /// `staged`: bytes are copied to the GPU's own memory before the kernel reads them.
    pub(crate) fn new(gpu: Arc<Gpu>, normalize: &Normalize, staged: bool, numbers: Numbers) -> Self {
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("ingest"),
            source: wgpu::ShaderSource::Wgsl(include_str!("ingest.wgsl").into()),
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("ingest"),
            layout: None,
            module: &module,
            entry_point: Some(numbers.entry_point()),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let table = constant(&gpu, wgpu::BufferUsages::STORAGE, &table(normalize, numbers));
        Self {
            gpu,
            numbers,
            pipeline,
            table,
            staged: staged.then(Mutex::default),
            submitted: Mutex::default(),
        }
    }

    pub(crate) fn bytes_per_number(&self) -> u64 {
        self.numbers.dtype().size() as u64
    }

    /// The tensor, on `device`, of pixels `[n, h, w, 3]` that are in the pool's memory. They go back when the GPU has read them.
    pub(crate) fn lent(
        &self,
        pixels: LentBuffer,
        shape: [usize; 4],
        device: &Device,
    ) -> Result<Ingested, String> {
        let (buffer, pool) = pixels.take().ok_or("the minibatch has no buffer")?;
        let length = bytes_of(shape);
        let copied = if self.staged.is_some() { length } else { 0 };
        let work = Work { source: buffer.buffer(), shape, copy: self.staged.is_some() };
        match self.submit(&work, device) {
            Ok((images, time)) => {
                self.return_when_done(buffer, pool);
                Ok(Ingested { images, copied, time })
            }
            Err(error) => {
                pool.give_back(buffer);
                Err(error)
            }
        }
    }

    /// The tensor of pixels that are in other memory: they are copied into the driver's first.
    pub(crate) fn foreign(
        &self,
        pixels: &[u8],
        shape: [usize; 4],
        device: &Device,
    ) -> Result<Ingested, String> {
        let padded = pixels.len().next_multiple_of(4) as u64;
        let source = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("minibatch from other memory"),
            size: padded.max(4),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        if let Some(size) = NonZeroU64::new(padded) {
            let view = self.gpu.queue.write_buffer_with(&source, 0, size);
            view.ok_or("no memory to copy a minibatch through")?
                .slice(..pixels.len())
                .copy_from_slice(pixels);
        }
        let (images, time) = self.submit(&Work { source: &source, shape, copy: false }, device)?;
        // Into the driver's buffer, and from there to where the kernel reads it.
        Ok(Ingested { images, copied: 2 * pixels.len() as u64, time })
    }

    /// Hands the buffer back as soon as the GPU has done all that was submitted by now.
    fn return_when_done(&self, buffer: MappedBuffer, pool: Arc<MappedPool>) {
        self.gpu.queue.on_submitted_work_done(move || pool.give_back(buffer));
    }

    fn submit(&self, work: &Work<'_>, device: &Device) -> Result<(Tensor<4>, Option<IngestTime>), String> {
        self.wait_for_room();
        let [items, height, width, channels] = work.shape;
        if channels != 3 {
            return Err(format!("pixels of {channels} channels"));
        }
        let images = Tensor::<4>::empty([items, 3, height, width], (device, self.numbers.dtype()));
        let target = Target::of(images.clone().inner())?;
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let staged = work.copy.then(|| self.copied(work, &mut encoder));
        let bytes = staged.as_ref().unwrap_or(work.source);
        let clock = Clock::start(&self.gpu);
        self.encode(&mut encoder, bytes, work.shape, &target.0, clock.as_ref());
        if let Some(clock) = &clock {
            clock.resolve(&mut encoder);
        }
        let index = self.gpu.queue.submit([encoder.finish()]);
        self.submitted.lock().unwrap_or_else(PoisonError::into_inner).push_back(index);
        let time = clock.map(|clock| IngestTime { gpu: self.gpu.clone(), ns: clock.read_when_done() });
        Ok((images, time))
    }

    /// Waits until fewer than [`IN_FLIGHT`] minibatches are on the queue.
    fn wait_for_room(&self) {
        let mut submitted = self.submitted.lock().unwrap_or_else(PoisonError::into_inner);
        while submitted.len() >= IN_FLIGHT {
            if let Some(oldest) = submitted.pop_front() {
                self.gpu.wait_for(oldest);
            }
        }
        self.gpu.poll();
    }

    /// Copies the bytes to the GPU's own memory. One place will do for all minibatches: the queue keeps their order.
    fn copied(&self, work: &Work<'_>, encoder: &mut wgpu::CommandEncoder) -> wgpu::Buffer {
        let length = bytes_of(work.shape).next_multiple_of(4).max(4);
        let none = Mutex::new(None);
        let place = self.staged.as_ref().unwrap_or(&none);
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = place.take().filter(|buffer| buffer.size() >= length);
        let buffer = fits.unwrap_or_else(|| {
            self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("minibatch on the GPU"),
                size: length,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        encoder.copy_buffer_to_buffer(work.source, 0, &buffer, 0, length);
        *place = Some(buffer.clone());
        buffer
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        bytes: &wgpu::Buffer,
        [items, height, width, _]: [usize; 4],
        target: &WgpuResource,
        clock: Option<&Clock>,
    ) {
        let plane = (height * width) as u32;
        let pixels = items as u32 * plane;
        let words: Vec<u8> = [pixels, plane, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        let shape = constant(&self.gpu, wgpu::BufferUsages::UNIFORM, &words);
        let layout = self.pipeline.get_bind_group_layout(0);
        let entry = |binding, resource| wgpu::BindGroupEntry { binding, resource };
        let group = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &layout,
            entries: &[
                entry(0, bytes.as_entire_binding()),
                entry(1, self.table.as_entire_binding()),
                entry(2, shape.as_entire_binding()),
                entry(3, target.as_wgpu_bind_resource()),
            ],
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("ingest"),
            timestamp_writes: clock.map(Clock::writes),
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &group, &[]);
        let groups = self.numbers.threads(pixels).div_ceil(GROUP);
        let rows = groups.div_ceil(GROUPS_MAX).max(1);
        pass.dispatch_workgroups(groups.div_ceil(rows), rows, 1);
    }
}

/// A minibatch for the kernel.
struct Work<'a> {
    source: &'a wgpu::Buffer,
    /// `[n, h, w, 3]`
    shape: [usize; 4],
    /// Whether the bytes go to the GPU's own memory first.
    copy: bool,
}

fn bytes_of(shape: [usize; 4]) -> u64 {
    shape.iter().product::<usize>() as u64
}

/// The buffer behind a tensor.
struct Target(WgpuResource);

impl Target {
    /// All work that was given to Burn before is on the queue when this returns: the memory may have belonged to a
    /// tensor that earlier work reads.
    fn of(tensor: Tensor<4>) -> Result<Self, String> {
        let primitive = tensor.try_into_primitive::<CubeBackend>().map_err(|e| format!("{e:?}"))?;
        let resource = primitive
            .client
            .get_resource::<WgpuServer<AutoCompiler>>(primitive.handle.clone())
            .map_err(|e| e.to_string())?;
        primitive.client.flush().map_err(|e| e.to_string())?;
        Ok(Self(resource.resource().clone()))
    }
}

/// What every byte becomes: by the formula of the cpu's path.
fn table(normalize: &Normalize, numbers: Numbers) -> Vec<u8> {
    let channel = |channel: usize| {
        let (scale, shift) = normalize.scale_shift(channel);
        (0..=u8::MAX).flat_map(move |byte| numbers.word(f32::from(byte) * scale - shift))
    };
    (0..3).flat_map(channel).collect()
}

fn constant(gpu: &Gpu, usage: wgpu::BufferUsages, contents: &[u8]) -> wgpu::Buffer {
    use wgpu::util::DeviceExt;
    gpu.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
}

/// Two timestamps around the kernel.
struct Clock {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    read: wgpu::Buffer,
    /// Nanoseconds of a tick.
    period: f32,
}

impl Clock {
    /// `None` on a device that gives no timestamps.
    fn start(gpu: &Gpu) -> Option<Self> {
        gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| {
            let buffer = |usage| {
                gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: 16,
                    usage,
                    mapped_at_creation: false,
                })
            };
            Self {
                set: gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: None,
                    ty: wgpu::QueryType::Timestamp,
                    count: 2,
                }),
                resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
                read: buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ),
                period: gpu.queue.get_timestamp_period(),
            }
        })
    }

    fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.read, 0, 16);
    }

    /// Where the time will be once the GPU has finished and was polled.
    fn read_when_done(self) -> Arc<OnceLock<u64>> {
        let time = Arc::new(OnceLock::new());
        let told = time.clone();
        let (read, period) = (self.read.clone(), self.period);
        self.read.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            if let (Ok(()), Ok(view)) = (result, read.slice(..).get_mapped_range()) {
                let ticks: Vec<u64> =
                    view.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
                if let [begun, ended] = ticks[..] {
                    let _ = told.set((ended.saturating_sub(begun) as f64 * f64::from(period)) as u64);
                }
            }
        });
        time
    }
}
