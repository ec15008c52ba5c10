/* crash matrix: taken by H5 (driver for the pf_points kill matrix) */
