use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use proptest::prelude::*;

use super::*;

const FINGERPRINT: u64 = 0xfeed;

fn opened(folder: &Path, bytes_max: u64) -> (DiskCache, Notices) {
    let notices = Notices::default();
    let cache = DiskCache::open(folder, bytes_max, FINGERPRINT, 100, &notices).unwrap();
    (cache, notices)
}

fn sample(index: usize) -> Vec<u8> {
    (0..100 + index * 3).map(|i| (i * 7 + index) as u8).collect()
}

fn put(cache: &DiskCache, notices: &Notices, indices: std::ops::Range<usize>) {
    for index in indices {
        // Every other one with checkpoints after the file.
        let bytes = sample(index);
        let form = if index % 2 == 0 { Form::File } else { Form::Indexed { file_len: bytes.len() - 9 } };
        cache.put(index, form, &bytes, notices);
    }
}

/// The samples that are there; each must be what it was.
fn held(cache: &DiskCache, notices: &Notices) -> Vec<usize> {
    let mut buffer = vec![9; 1000];
    let mut there = Vec::new();
    for index in 0..100 {
        if let Some((form, length)) = cache.get(index, &mut buffer, notices) {
            assert_eq!(buffer[..length], sample(index));
            let file = file_length(form, length).unwrap() as usize;
            assert_eq!(file, if index % 2 == 0 { length } else { length - 9 });
            there.push(index);
        }
    }
    there
}

fn size_of_files(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

fn files(folder: &Path) -> [PathBuf; 2] {
    [DATA_ENDING, JOURNAL_ENDING].map(|ending| folder.join(format!("{FINGERPRINT:016x}.{ending}")))
}

#[test]
fn what_is_kept_survives_and_more_is_added() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (cache, notices) = opened(folder.path(), 1 << 20);
        put(&cache, &notices, 0..10);
        assert_eq!(held(&cache, &notices), (0..10).collect::<Vec<_>>());
    }
    let (cache, notices) = opened(folder.path(), 1 << 20);
    put(&cache, &notices, 5..15);
    assert_eq!(held(&cache, &notices), (0..15).collect::<Vec<_>>());
    assert_eq!((notices.take(), cache.size().0), (vec![], 15));
}

#[test]
fn files_never_grow_past_the_bound_and_shrink_with_it() {
    let folder = tempfile::tempdir().unwrap();
    for bytes_max in [10, 64, 500, 1000, 5000, 1500] {
        let (cache, notices) = opened(folder.path(), bytes_max);
        put(&cache, &notices, 0..100);
        let size = size_of_files(folder.path());
        assert!(size <= bytes_max, "{size} of {bytes_max}");
        let there = held(&cache, &notices);
        assert!(bytes_max < 500 || !there.is_empty());
        assert_eq!(cache.size().0, there.len() as u64);
    }
}

#[test]
fn caches_of_other_data_count() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("0000000000000001.fpc"), [0; 900]).unwrap();
    fs::write(folder.path().join("other.txt"), [0; 900]).unwrap();
    let (cache, notices) = opened(folder.path(), 1500);
    put(&cache, &notices, 0..100);
    assert!(cache.size().1 <= 600 && cache.size().0 > 0, "{:?}", cache.size());
    drop(cache);
    let (cache, notices) = opened(folder.path(), 900);
    assert!(notices.take().join("").contains("caches of other data"));
    assert_eq!(held(&cache, &notices), Vec::<usize>::new());
}

/// Whatever is cut off at the end, what is whole before it stays, and is added to.
#[test]
fn a_torn_tail_is_dropped() {
    let whole = tempfile::tempdir().unwrap();
    let (cache, notices) = opened(whole.path(), 1 << 20);
    put(&cache, &notices, 0..6);
    drop(cache);
    let [data, journal] = files(whole.path()).map(|path| fs::read(path).unwrap());
    for (data_cut, journal_cut) in
        [(1, 0), (0, 5), (0, journal.len()), (90, 40), (data.len() - 30, 0), (400, 16), (data.len(), 3)]
    {
        let folder = tempfile::tempdir().unwrap();
        let [data_path, journal_path] = files(folder.path());
        fs::write(&data_path, &data[..data.len() - data_cut]).unwrap();
        fs::write(&journal_path, &journal[..journal.len() - journal_cut]).unwrap();
        let (cache, notices) = opened(folder.path(), 1 << 20);
        let there = held(&cache, &notices);
        assert_eq!(there, (0..there.len()).collect::<Vec<_>>());
        // The journal is no more than a list: without it all is found.
        assert!(data_cut > 0 || there.len() == 6, "{there:?} after cutting {journal_cut} of the journal");
        put(&cache, &notices, 0..20);
        assert_eq!(held(&cache, &notices).len(), 20, "cut {data_cut} and {journal_cut}");
        drop(cache);
        let (cache, notices) = opened(folder.path(), 1 << 20);
        assert_eq!(held(&cache, &notices).len(), 20, "cut {data_cut} and {journal_cut}");
    }
}

#[test]
fn damaged_records_are_not_used_and_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, notices) = opened(folder.path(), 1 << 20);
    put(&cache, &notices, 0..10);
    let [data, _] = files(folder.path());
    let mut bytes = fs::read(&data).unwrap();
    // In the first record's bytes, and in a later record's head.
    bytes[64 + RECORD_HEAD + 50] ^= 1;
    bytes[64 + 2 * 128 + 3] ^= 1;
    fs::write(&data, bytes).unwrap();
    let there = held(&cache, &notices);
    assert_eq!(there.len(), 8, "{there:?}");
    let told = notices.take();
    assert_eq!(told.len(), 1, "{told:?}");
    // They are added anew.
    put(&cache, &notices, 0..10);
    assert_eq!(held(&cache, &notices).len(), 10);
}

#[test]
fn the_cache_of_other_data_under_our_name_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [vec![7; 300], head(FINGERPRINT + 1).to_vec(), b"FP".to_vec()] {
        fs::write(&files(folder.path())[0], bytes).unwrap();
        let (cache, notices) = opened(folder.path(), 1 << 20);
        assert!(notices.take().join("").contains("not the cache of this data"));
        put(&cache, &notices, 3..5);
        assert_eq!(held(&cache, &notices), [3, 4]);
    }
}

#[test]
fn a_second_process_only_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (first, notices) = opened(folder.path(), 1 << 20);
    put(&first, &notices, 0..4);
    let (second, told) = opened(folder.path(), 1 << 20);
    assert!(told.take().join("").contains("another process fills"));
    assert_eq!(held(&second, &told), [0, 1, 2, 3]);
    put(&second, &told, 4..8);
    assert_eq!(second.size().0, 4);
    put(&first, &notices, 4..6);
    drop((first, second));
    let (again, notices) = opened(folder.path(), 1 << 20);
    assert_eq!(held(&again, &notices).len(), 6);
}

/// A disk with so much space.
struct Small(File, Arc<AtomicI64>);

impl Medium for Small {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let left = self.1.fetch_sub(bytes.len() as i64, Ordering::Relaxed);
        // A part is written, as a system does it.
        let fits = usize::try_from(left).unwrap_or(0).min(bytes.len());
        FileExt::write_all_at(&self.0, &bytes[..fits], at)?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(&self.0, length)
    }
}

#[test]
fn a_full_disk_ends_the_growth_with_one_word_and_spoils_nothing() {
    for space in [0, 1, 130, 135, 600, 1000] {
        let folder = tempfile::tempdir().unwrap();
        let (mut cache, notices) = opened(folder.path(), 1 << 20);
        let left = Arc::new(AtomicI64::new(space));
        let mut writer = cache.writer.take().unwrap().into_inner().unwrap();
        let [data, journal] = files(folder.path())
            .map(|path| Small(File::options().write(true).open(path).unwrap(), left.clone()));
        (writer.data, writer.journal) = (Box::new(data), Box::new(journal));
        cache.writer = Some(Mutex::new(writer));
        put(&cache, &notices, 0..30);
        let there = held(&cache, &notices);
        assert_eq!(there, (0..there.len()).collect::<Vec<_>>());
        assert!(there.len() < 10);
        let told = notices.take();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("does not grow any more"), "{told:?}");
        drop(cache);
        // With space again it goes on.
        let (cache, notices) = opened(folder.path(), 1 << 20);
        assert_eq!(held(&cache, &notices), there);
        put(&cache, &notices, 0..30);
        assert_eq!((held(&cache, &notices).len(), notices.take()), (30, vec![]));
    }
}

/// The golden file: a change here is a change of the format and needs a new version.
#[test]
fn golden_files() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, notices) = opened(folder.path(), 1 << 20);
    cache.put(2, Form::File, b"a file", &notices);
    cache.put(1, Form::Indexed { file_len: 4 }, b"filecheckpoints", &notices);
    drop(cache);
    let [data, journal] = files(folder.path()).map(|path| fs::read(path).unwrap());
    assert_eq!(data, include_bytes!("golden.fpc"));
    assert_eq!(journal, include_bytes!("golden.fpj"));
}

/// What happens to a cache from outside.
#[derive(Clone, Debug)]
enum Event {
    /// A worker has read samples from here on, and puts them.
    Put(usize, usize),
    /// The process ends and another one begins, with this bound.
    Reopen(u64),
    /// The data file is cut by so many bytes while nobody has it open.
    CutData(u64),
    /// The list is cut by so many bytes while nobody has it open.
    CutJournal(u64),
    /// The data set has changed.
    Clear,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0usize..90, 1usize..12).prop_map(|(first, count)| Event::Put(first, count)),
        2 => (0u64..9000).prop_map(Event::Reopen),
        1 => (1u64..700).prop_map(Event::CutData),
        1 => (1u64..60).prop_map(Event::CutJournal),
        1 => Just(Event::Clear),
    ];
    prop::collection::vec(event, 1..20)
}

fn cut(path: &Path, bytes: u64) {
    let length = path.metadata().unwrap().len();
    File::options().write(true).open(path).unwrap().set_len(length.saturating_sub(bytes)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order: a sample that is given is the right one (`held` compares), the bound holds for
    /// the files too, and a second process finds what the first one had.
    #[test]
    fn a_cache_gives_right_samples_within_its_bound_whatever_happens(events in events()) {
        let folder = tempfile::tempdir().unwrap();
        let [data, journal] = files(folder.path());
        let mut bytes_max = 6000;
        let (mut cache, mut notices) = opened(folder.path(), bytes_max);
        for event in events {
            match event {
                Event::Put(first, count) => put(&cache, &notices, first..first + count),
                Event::Clear => cache.clear(&notices),
                Event::Reopen(bound) => {
                    let before = held(&cache, &notices);
                    drop(cache);
                    let kept_bound = bound >= bytes_max;
                    bytes_max = bound;
                    (cache, notices) = opened(folder.path(), bytes_max);
                    prop_assert!(!kept_bound || held(&cache, &notices) == before);
                }
                Event::CutData(bytes) | Event::CutJournal(bytes) => {
                    drop(cache);
                    cut(if matches!(event, Event::CutData(_)) { &data } else { &journal }, bytes);
                    (cache, notices) = opened(folder.path(), bytes_max);
                }
            }
            let there = held(&cache, &notices);
            let (samples, bytes, _) = cache.size();
            prop_assert_eq!(samples, there.len() as u64);
            prop_assert!(bytes <= bytes_max, "{bytes} of {bytes_max}");
            prop_assert!(size_of_files(folder.path()) <= bytes_max);
        }
    }
}

#[test]
fn pixels_and_samples_beyond_the_data_set_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, notices) = opened(folder.path(), 1 << 20);
    cache.put(3, Form::Raw { width: 2, height: 1, channels: 1 }, &[1, 2], &notices);
    cache.put(100, Form::File, &[1, 2], &notices);
    let mut buffer = Vec::new();
    assert!(cache.get(3, &mut buffer, &notices).is_none() && cache.get(100, &mut buffer, &notices).is_none());
    assert!(!cache.holds(3) && !cache.holds(100));
}
