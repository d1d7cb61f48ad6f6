"""The recipe of `unisim-mini`, the bundled model: photos, teacher, student, stages, figures."""
