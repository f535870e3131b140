//! The recipes of docs/zero-downtime.md, run as they stand there: the command line of each, and
//! the files that it shows, with another port and in a folder of their own.

use crate::clients::{Load, Lost};
use crate::harness::{Folder, Init, Run, free_port, package};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

/// What the page has for the port of every recipe.
const SHOWN: [&str; 2] = ["0.0.0.0:8080", "127.0.0.1:8080"];
const SHOWN_PORT: &str = "8080";

const RESTARTS: usize = 5;
/// New connections a second: these programs are not built for speed.
const RATE: u32 = 50;
/// One in so many asks late, so that each restart meets some that are connected and silent.
const LATE: u32 = 2;
const PAUSE: Duration = Duration::from_millis(300);

/// A recipe: its heading, the program that it needs, and whether clients are to notice nothing.
pub struct Recipe {
    pub name: &'static str,
    pub program: &'static str,
    seamless: bool,
}

pub const ALL: [Recipe; 6] = [
    Recipe { name: "nginx", program: "nginx", seamless: true },
    Recipe { name: "gunicorn", program: "gunicorn", seamless: true },
    Recipe { name: "Node", program: "node", seamless: true },
    Recipe { name: "Python", program: "python3", seamless: true },
    Recipe { name: "in-place", program: "openclaw", seamless: true },
    Recipe { name: "neither", program: "python3", seamless: false },
];

/// Whether a program is in the path that children get here.
pub fn is_there(program: &str) -> bool {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    program == "openclaw" || folders.iter().any(|folder| Path::new(folder).join(program).is_file())
}

fn page() -> String {
    std::fs::read_to_string(package().join("docs/zero-downtime.md")).expect("the page")
}

/// The code blocks below a heading, each with its language.
fn blocks<'a>(page: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let (_, rest) = page.split_once(&format!("\n### {name}\n")).expect("the recipe's heading");
    let section = rest.split("\n## ").next().and_then(|part| part.split("\n### ").next());
    let pieces = section.unwrap_or_default().split("```").skip(1).step_by(2);
    pieces.filter_map(|piece| piece.split_once('\n')).collect()
}

/// A recipe with its files, ready to be started.
struct Kitchen {
    folder: Folder,
    address: SocketAddrV4,
    variables: Vec<(String, String)>,
    options: Vec<String>,
    command: Vec<String>,
}

impl Kitchen {
    fn set_up(recipe: &Recipe) -> Kitchen {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port());
        let folder = Folder::new();
        let (mut variables, mut line) = (Vec::new(), String::new());
        let page = page();
        for (language, text) in blocks(&page, recipe.name) {
            let here = SHOWN
                .iter()
                .fold(text.to_string(), |text, shown| text.replace(shown, &address.to_string()));
            let here = here.replace(SHOWN_PORT, &address.port().to_string());
            if language != "sh" {
                write_down(&folder, &here);
                continue;
            }
            for shown in here.replace("\\\n", " ").lines() {
                match shown.strip_prefix("export ").and_then(|set| set.split_once('=')) {
                    Some((name, value)) => {
                        variables.push((name.to_string(), value.trim_matches('\'').to_string()));
                    }
                    None if shown.starts_with("clawinit ") => line = shown.to_string(),
                    None => {}
                }
            }
        }
        let words: Vec<String> = line.split_whitespace().skip(1).map(str::to_string).collect();
        let end = words.iter().position(|word| word == "--").expect("a -- before the command");
        let mut command = words[end + 1..].to_vec();
        if command[0] == "openclaw" {
            command[0] = crate::demo::gateway().expect("the gateway").display().to_string();
            variables.push(("GATEWAY_STATE_DIR".to_string(), folder.word("state")));
        }
        Kitchen { folder, address, variables, options: words[..end].to_vec(), command }
    }

    fn start(&self) -> Run {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let command: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let mut init = Init::new(&options).flag(&format!("folder={}", self.folder.word("")));
        for (name, value) in &self.variables {
            init = init.variable(name, value);
        }
        init.command(&command)
    }
}

/// A file whose first line is a comment with its name.
fn write_down(folder: &Folder, text: &str) {
    let first = text.lines().next().unwrap_or_default();
    let name = first.trim_start_matches(['#', '/', ' ']);
    let plain = !name.is_empty() && !name.contains(['/', ' ']);
    assert!(plain, "{first:?} does not name the file of its block");
    folder.write(name, text, 0o644);
}

/// Restarts it under a load.
pub fn run(recipe: &Recipe) {
    let kitchen = Kitchen::set_up(recipe);
    let run = kitchen.start();
    run.event("ready", 1);
    let load = Load::begin(kitchen.address, RATE, LATE);
    let in_place = kitchen.options.iter().any(|option| option == "in-place");
    for count in 1..=RESTARTS {
        // The load is to be a steady one before each restart.
        std::thread::sleep(PAUSE);
        run.usr1();
        match in_place {
            true => run.event("restarted-in-place", count),
            false => run.event("ready", count + 1),
        };
    }
    std::thread::sleep(PAUSE);
    let counts = load.end();
    let refused = counts.losses.iter().filter(|loss| loss.how == Lost::Refused).count();
    println!(
        "{}: {} requests, {} answered, {refused} refused, {} sent again as RFC 9110 allows",
        recipe.name,
        counts.new + counts.kept,
        counts.answers.len(),
        counts.again
    );
    if recipe.seamless {
        let lost: Vec<Lost> = counts.losses.iter().map(|loss| loss.how).collect();
        if !lost.is_empty() {
            run.fail(&format!("{}: lost {lost:?}", recipe.name));
        }
    } else {
        assert!(refused > 0, "nobody was refused: the page says otherwise");
    }
    run.stop();
}

/// What the page says is run here is run here.
pub fn every_recipe_of_the_page_is_run() {
    let page = page();
    let (_, rest) = page.split_once("\n## Recipes\n").expect("the recipes");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let shown: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let run: Vec<&str> = ALL.iter().map(|recipe| recipe.name).collect();
    assert_eq!(shown, run);
}
