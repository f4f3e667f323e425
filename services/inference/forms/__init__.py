"""Forms of answers (schemas, expressions, grammars): proved to compile before the engine sees them."""
