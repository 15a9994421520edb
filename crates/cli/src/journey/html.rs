//! A journey as one page with a stepper: nothing is loaded from elsewhere.

use heapwise_sim::journey::Journey;

use super::json;

const PAGE: &str = include_str!("page.html");

/// The page.
pub fn page(script: &str, journey: &Journey) -> String {
    // In a script element only `</` could end it early.
    let data = json::document(script, journey).to_string().replace("</", "<\\/");
    PAGE.replace("/*DATA*/null", &data)
}

#[cfg(test)]
mod tests {
    use heapwise_sim::journey::{parse, travel};

    #[test]
    fn the_page_holds_the_journey_and_cannot_be_broken_out_of() {
        let journey = travel(&parse("a = malloc 10").unwrap(), 1).unwrap();
        let page = super::page("a = malloc 10 # </script><b>", &journey);
        assert!(page.contains("heapwise.journey/1"));
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(!page.contains("http://") && !page.contains("https://"));
    }
}
