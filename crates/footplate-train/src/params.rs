//! A network's arrays by name, whatever its type.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

use crate::network::{
    Forward, GradientMap, NamedTensor, NetInput, Network, ParamError, ParamKind, UpdateRule,
};

/// A network of one type.
pub(crate) struct Net<M> {
    /// `None` only while an update moves the module through a mapper.
    module: Option<M>,
}

impl<M: Forward> Net<M> {
    /// Draws the parameters, in the module's order, from the device's generator. Burn would draw each when
    /// it is first used.
    pub(crate) fn boxed(module: M) -> Box<dyn Network> {
        module.visit(&mut Draw);
        Box::new(Self { module: Some(module) })
    }

    fn module(&self) -> &M {
        match &self.module {
            Some(module) => module,
            // `update` and `load` put the module back before they return; only a panic inside them, which
            // ends the run, leaves none.
            None => unreachable!("the module is being updated"),
        }
    }

    fn map(&mut self, mapper: &mut impl ModuleMapper) {
        self.module = self.module.take().map(|module| module.map(mapper));
    }
}

impl<M: Forward> Network for Net<M> {
    fn forward(&self, input: NetInput) -> Tensor<2> {
        self.module().forward(input)
    }

    fn eval(&self) -> Box<dyn Network> {
        Box::new(Self { module: Some(self.module().valid()) })
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        let mut collector = Collector { place: Place::default(), tensors: Vec::new() };
        self.module().visit(&mut collector);
        collector.tensors
    }

    fn load(&mut self, tensors: &BTreeMap<String, TensorData>) -> Result<(), ParamError> {
        let mut loader = Loader { place: Place::default(), tensors, used: BTreeSet::new(), error: None };
        self.map(&mut loader);
        if let Some(error) = loader.error {
            return Err(error);
        }
        match tensors.keys().find(|path| !loader.used.contains(path.as_str())) {
            Some(path) => Err(ParamError::Unknown { path: path.clone() }),
            None => Ok(()),
        }
    }

    fn gradients(&self, loss: Tensor<1>) -> GradientMap {
        let gradients = loss.backward();
        let mut collector =
            GradientCollector { place: Place::default(), gradients, found: GradientMap::new() };
        self.module().visit(&mut collector);
        collector.found
    }

    fn update(&mut self, gradients: GradientMap, rule: &mut UpdateRule<'_>) {
        self.map(&mut Updater { place: Place::default(), gradients, rule });
    }

    fn torch_key(&self, path: &str) -> String {
        self.module().torch_key(path)
    }

    fn head(&self) -> &'static str {
        M::HEAD
    }

    fn parameter_count(&self) -> usize {
        let parameters = self.tensors().into_iter().filter(|tensor| tensor.kind == ParamKind::Parameter);
        parameters.map(|tensor| tensor.data.shape().num_elements()).sum()
    }
}

/// Where a walk through a module is: the names of the fields that were entered, and each one's owner.
#[derive(Default)]
struct Place(Vec<(String, String)>);

impl Place {
    fn enter(&mut self, name: &str, container: &str) {
        self.0.push((name.to_owned(), container.to_owned()));
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn path(&self) -> String {
        self.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
    }

    fn field(&self) -> &str {
        self.0.last().map_or("", |(name, _)| name.as_str())
    }

    fn kind(&self) -> ParamKind {
        if self.field().starts_with("running_") { ParamKind::Buffer } else { ParamKind::Parameter }
    }

    fn is_transposed(&self) -> bool {
        let dense = ["Struct:Linear", "Struct:LstmLayer"];
        self.field().starts_with("weight")
            && self.0.last().is_some_and(|(_, owner)| dense.contains(&owner.as_str()))
    }
}

/// Looks at each parameter, which initialises it.
struct Draw;

impl ModuleVisitor for Draw {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let _ = param.val();
    }
}

struct Collector {
    place: Place,
    tensors: Vec<NamedTensor>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors.push(NamedTensor {
            path: self.place.path(),
            kind: self.place.kind(),
            transposed: self.place.is_transposed(),
            data: param.val().into_data(),
        });
    }
}

struct Loader<'a> {
    place: Place,
    tensors: &'a BTreeMap<String, TensorData>,
    used: BTreeSet<&'a str>,
    error: Option<ParamError>,
}

impl Loader<'_> {
    /// The array for the present place, if it is there and has the shape.
    fn find(&mut self, expected: &[usize]) -> Option<TensorData> {
        let path = self.place.path();
        let Some((name, data)) = self.tensors.get_key_value(&path) else {
            self.error.get_or_insert(ParamError::Missing { path });
            return None;
        };
        if data.shape().to_vec() != expected {
            let (expected, found) = (expected.to_vec(), data.shape().to_vec());
            self.error.get_or_insert(ParamError::Shape { path, expected, found });
            return None;
        }
        self.used.insert(name);
        Some(data.clone())
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, old, mapper) = param.consume();
        let value = match self.find(&old.dims()) {
            None => old,
            Some(data) => {
                let value = Tensor::from_data(data, &old.device());
                // A copy for evaluation is outside autodiff and cannot be told to keep gradients.
                if old.is_require_grad() { value.require_grad() } else { value }
            }
        };
        Param::from_mapped_value(id, value, mapper)
    }
}

struct GradientCollector {
    place: Place,
    gradients: Gradients,
    found: GradientMap,
}

impl ModuleVisitor for GradientCollector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.place.kind() == ParamKind::Buffer {
            return;
        }
        if let Some(gradient) = param.val().grad_remove(&mut self.gradients) {
            let length = gradient.shape().num_elements();
            self.found.insert(self.place.path(), gradient.reshape([length]));
        }
    }
}

struct Updater<'a, 'b> {
    place: Place,
    gradients: GradientMap,
    rule: &'a mut UpdateRule<'b>,
}

impl ModuleMapper for Updater<'_, '_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        let Some(gradient) = self.gradients.remove(&path) else { return param };
        let (id, value, mapper) = param.consume();
        let (shape, strategy) = (value.dims(), value.gradient_checkpointing_strategy());
        let flat = value.inner().reshape([shape.iter().product::<usize>()]);
        let updated = (self.rule)(&path, D, flat, gradient).reshape(shape);
        let mut value = Tensor::from_inner(updated);
        if let Some(strategy) = strategy {
            value = value.with_gradient_checkpointing_strategy(strategy);
        }
        Param::from_mapped_value(id, value.require_grad(), mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int};

    use super::*;
    use crate::model::{ModelShape, find};
    use crate::settings::LstmSize;
    use crate::testing::seeded;

    fn net(classes: usize) -> Box<dyn Network> {
        let _turn = seeded(2);
        let lstm = LstmSize { embed: 2, hidden: 3, layers: 1 };
        let shape = ModelShape { classes, image_size: 32, lstm };
        (find("lstm").unwrap().build)(&shape, &Device::flex().autodiff())
    }

    fn arrays(net: &dyn Network) -> BTreeMap<String, TensorData> {
        net.tensors().into_iter().map(|tensor| (tensor.path, tensor.data)).collect()
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let good = arrays(net(4).as_ref());
        assert!(net(4).load(&good).is_ok());
        let mut missing = good.clone();
        missing.remove("head.weight");
        let path = || "head.weight".to_owned();
        assert_eq!(net(4).load(&missing), Err(ParamError::Missing { path: path() }));
        let shape = net(5).load(&good).unwrap_err();
        assert!(matches!(&shape, ParamError::Shape { path, .. } if path == "embedding.weight"), "{shape}");
        let mut more = good.clone();
        more.insert("tail.weight".to_owned(), good["head.weight"].clone());
        assert_eq!(net(4).load(&more), Err(ParamError::Unknown { path: "tail.weight".to_owned() }));
    }

    #[test]
    fn every_parameter_has_a_gradient_of_its_length_and_no_statistic_has_one() {
        let net = net(4);
        let tokens = Tensor::<2, Int>::from_ints([[0, 1, 2]], &Device::flex().autodiff());
        let gradients = net.gradients(net.forward(NetInput::Tokens(tokens)).sum());
        let tensors = net.tensors();
        assert_eq!(gradients.len(), tensors.len());
        for tensor in &tensors {
            assert_eq!(tensor.kind, ParamKind::Parameter, "{}", tensor.path);
            assert_eq!(
                gradients[&tensor.path].dims(),
                [tensor.data.shape().num_elements()],
                "{}",
                tensor.path
            );
        }
    }

    #[test]
    fn an_update_reaches_the_parameters_that_have_a_gradient_and_no_other() {
        let mut net = net(4);
        let before = arrays(net.as_ref());
        let bias = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &Device::flex());
        let gradients = GradientMap::from([("head.bias".to_owned(), bias)]);
        let mut seen = Vec::new();
        net.update(gradients, &mut |path, rank, value, gradient| {
            seen.push((path.to_owned(), rank));
            value + gradient
        });
        assert_eq!(seen, [("head.bias".to_owned(), 1)]);
        let after = arrays(net.as_ref());
        for (path, data) in &before {
            assert_eq!(after[path] == *data, path != "head.bias", "{path}");
        }
        let moved: Vec<f32> = after["head.bias"]
            .iter::<f32>()
            .zip(before["head.bias"].iter::<f32>())
            .map(|(a, b)| a - b)
            .collect();
        assert!(moved.iter().zip([1.0, 2.0, 3.0, 4.0]).all(|(m, g)| (m - g).abs() < 1e-6), "{moved:?}");
    }

    #[test]
    fn a_copy_for_evaluation_has_the_same_arrays_and_no_gradients() {
        let net = net(4);
        let eval = net.eval();
        assert_eq!(arrays(eval.as_ref()), arrays(net.as_ref()));
        assert_eq!(eval.parameter_count(), net.parameter_count());
    }

    #[test]
    fn running_statistics_are_buffers_and_dense_weights_stand_the_other_way_in_pytorch() {
        let _turn = seeded(2);
        let shape =
            ModelShape { classes: 4, image_size: 32, lstm: LstmSize { embed: 2, hidden: 3, layers: 1 } };
        let net = (find("lenet5").unwrap().build)(&shape, &Device::flex());
        for tensor in net.tensors() {
            let running = tensor.path.contains("running_");
            assert_eq!(tensor.kind == ParamKind::Buffer, running, "{}", tensor.path);
            let dense = tensor.path.starts_with("fc") && tensor.path.ends_with(".weight");
            assert_eq!(tensor.transposed, dense, "{}", tensor.path);
        }
        let trained = net.tensors().into_iter().filter(|tensor| tensor.kind == ParamKind::Parameter);
        let values: usize = trained.map(|tensor| tensor.data.shape().num_elements()).sum();
        assert_eq!(net.parameter_count(), values);
    }
}
