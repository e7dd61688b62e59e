use std::error::Error;

/// Returns `text` and each cause of `error`, separated by `: `.
#[must_use]
pub fn error_chain(text: impl Into<String>, error: &dyn Error) -> String {
    let mut text = text.into();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl std::fmt::Display for Layer {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn each_cause_is_appended_once() {
        let error =
            Layer("outer", Some(Box::new(Layer("middle", Some(Box::new(Layer("inner", None)))))));
        assert_eq!(error_chain("what happened", &error), "what happened: middle: inner");
        assert_eq!(error_chain("alone", &Layer("alone", None)), "alone");
    }
}
