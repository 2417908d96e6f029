"""A package of definitions, as an application has one: for `discover`, and for finding jobs by the names used."""
