"""One rollout phase: problems in, verified, scored and credited completions out."""
