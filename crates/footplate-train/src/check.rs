//! Whether settings can work, with this model and this data.

use footplate_data::Dataset;

use crate::error::TrainError;
use crate::model::{self, ModelEntry, ModelShape, Task};
use crate::settings::{Precision, TrainSettings};

/// The registry's entry and the model's shape, after the settings were found to fit the data.
pub(crate) fn fitted(
    settings: &TrainSettings,
    dataset: &Dataset,
) -> Result<(&'static ModelEntry, ModelShape), TrainError> {
    let entry = model::find(&settings.model)
        .ok_or_else(|| TrainError::UnknownModel { name: settings.model.clone() })?;
    check(settings, entry)?;
    let classes = match (entry.task, dataset) {
        (Task::Images, Dataset::Images(images)) => images.classes().len(),
        (Task::CharacterLm, Dataset::Text(text)) => text.vocabulary().len(),
        (task, _) => {
            let needs = if task == Task::Images { "images" } else { "text" };
            return Err(TrainError::WrongData {
                model: settings.model.clone(),
                needs,
                found: dataset.description(),
            });
        }
    };
    let shape = ModelShape { classes, image_size: settings.image_size as usize, lstm: settings.lstm };
    Ok((entry, shape))
}

/// A value that may be left out.
fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn check(settings: &TrainSettings, entry: &ModelEntry) -> Result<(), TrainError> {
    let s = settings;
    let at_least_1 = "must be at least 1";
    let share = "must be 0 or more and less than 1";
    let is_share = |x: f64| (0.0..1.0).contains(&x);
    let rate = s.schedule.learning_rate;
    let checks: [(&'static str, String, bool, &str); 13] = [
        ("batch-size", s.batch_size.to_string(), s.batch_size >= 1, at_least_1),
        ("accumulate", s.accumulate.to_string(), s.accumulate >= 1, at_least_1),
        ("epochs", s.epochs.to_string(), s.epochs >= 1, at_least_1),
        ("max-steps", shown(s.max_steps), s.max_steps != Some(0), at_least_1),
        ("prefetch-batches", s.prefetch_batches.to_string(), s.prefetch_batches >= 1, at_least_1),
        ("learning-rate", rate.to_string(), rate > 0.0 && rate.is_finite(), "must be more than 0"),
        ("momentum", s.optimizer.momentum.to_string(), is_share(s.optimizer.momentum), share),
        ("label-smoothing", s.label_smoothing.to_string(), is_share(s.label_smoothing), share),
        (
            "weight-decay",
            s.optimizer.weight_decay.to_string(),
            s.optimizer.weight_decay >= 0.0,
            "must be 0 or more",
        ),
        ("clip-norm", shown(s.clip_norm), s.clip_norm.is_none_or(|n| n > 0.0), "must be more than 0"),
        (
            "max-bad-fraction",
            s.max_bad_fraction.to_string(),
            (0.0..=1.0).contains(&s.max_bad_fraction),
            "must be 0 to 1",
        ),
        (
            "crop-min-area",
            s.augment.crop_min_area.to_string(),
            s.augment.crop_min_area > 0.0 && s.augment.crop_min_area <= 1.0,
            "must be more than 0 and at most 1",
        ),
        ("sequence-length", s.sequence_length.to_string(), s.sequence_length >= 1, at_least_1),
    ];
    for (setting, value, good, reason) in checks {
        if !good {
            return Err(TrainError::Setting { setting, value, reason: reason.to_owned() });
        }
    }
    if entry.task == Task::CharacterLm && s.precision != Precision::F32 {
        let reason = format!("{} is computed in f32", entry.name);
        return Err(TrainError::Setting { setting: "precision", value: s.precision.to_string(), reason });
    }
    let smallest = entry.min_image_size;
    if entry.task == Task::Images && (s.image_size as usize) < smallest {
        let reason = format!("{} needs at least {smallest} pixels", entry.name);
        return Err(TrainError::Setting { setting: "image-size", value: s.image_size.to_string(), reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::find;
    use crate::testing::small_settings;

    /// What is said of settings that differ from good ones by one value.
    fn said(model: &str, change: impl FnOnce(&mut TrainSettings)) -> String {
        let mut settings = small_settings(model);
        change(&mut settings);
        match check(&settings, find(model).unwrap()) {
            Ok(()) => "good".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_setting_that_cannot_work_is_refused_by_its_flag() {
        type Change = fn(&mut TrainSettings);
        let cases: [(Change, &str); 19] = [
            (|s| s.batch_size = 0, "--batch-size 0: must be at least 1"),
            (|s| s.accumulate = 0, "--accumulate 0: must be at least 1"),
            (|s| s.epochs = 0, "--epochs 0: must be at least 1"),
            (|s| s.max_steps = Some(0), "--max-steps 0: must be at least 1"),
            (|s| s.prefetch_batches = 0, "--prefetch-batches 0: must be at least 1"),
            (|s| s.sequence_length = 0, "--sequence-length 0: must be at least 1"),
            (|s| s.schedule.learning_rate = 0.0, "--learning-rate 0: must be more than 0"),
            (|s| s.schedule.learning_rate = f64::INFINITY, "--learning-rate inf: must be more than 0"),
            (|s| s.schedule.learning_rate = f64::NAN, "--learning-rate NaN: must be more than 0"),
            (|s| s.optimizer.momentum = 1.0, "--momentum 1: must be 0 or more and less than 1"),
            (|s| s.optimizer.momentum = -0.1, "--momentum -0.1: must be 0 or more and less than 1"),
            (|s| s.label_smoothing = 1.0, "--label-smoothing 1: must be 0 or more and less than 1"),
            (|s| s.optimizer.weight_decay = -1.0, "--weight-decay -1: must be 0 or more"),
            (|s| s.clip_norm = Some(0.0), "--clip-norm 0: must be more than 0"),
            (|s| s.max_bad_fraction = 1.5, "--max-bad-fraction 1.5: must be 0 to 1"),
            (|s| s.augment.crop_min_area = 0.0, "--crop-min-area 0: must be more than 0 and at most 1"),
            (|s| s.augment.crop_min_area = 1.1, "--crop-min-area 1.1: must be more than 0 and at most 1"),
            (|s| s.image_size = 7, "--image-size 7: lenet5 needs at least 8 pixels"),
            (|_| (), "good"),
        ];
        for (change, words) in cases {
            assert_eq!(said("lenet5", change), words);
        }
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        type Change = fn(&mut TrainSettings);
        let cases: [Change; 8] = [
            |s| s.max_steps = Some(1),
            |s| s.optimizer.momentum = 0.0,
            |s| s.label_smoothing = 0.0,
            |s| s.optimizer.weight_decay = 0.0,
            |s| s.max_bad_fraction = 1.0,
            |s| s.augment.crop_min_area = 1.0,
            |s| s.image_size = 8,
            |s| s.workers = 0,
        ];
        for (number, change) in cases.into_iter().enumerate() {
            assert_eq!(said("lenet5", change), "good", "case {number}");
        }
    }

    #[test]
    fn a_language_model_sees_no_pixels_and_is_computed_in_single_precision() {
        assert_eq!(said("lstm", |s| s.image_size = 1), "good");
        assert_eq!(
            said("lstm", |s| s.precision = Precision::F16),
            "--precision f16: lstm is computed in f32"
        );
        assert_eq!(said("lenet5", |s| s.precision = Precision::F16), "good");
    }
}
