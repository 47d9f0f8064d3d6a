//! The role that takes SQL, scatters it to servers, gathers and answers.
